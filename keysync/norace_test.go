//go:build !race

package keysync

// raceDetector says that these tests run under the race detector.
const raceDetector = false
