package fleet

// Reported returns what the member last said in this leadership that it had
// applied, and whether that report is still believed.
func (f *Fleet) Reported(member string) (applied uint64, live bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, known := f.reports[member]
	if !known || r.leadership != f.leading {
		return 0, false
	}
	return r.Applied, f.now().Before(r.LeaseUntil)
}
