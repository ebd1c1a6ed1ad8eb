package agent

import (
	"os/exec"
	"syscall"
)

// endWithParent has a program that is started end with the thread that starts it.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
