package process

import "time"

// Usage is what a program and those that it started hold of the machine at one time.
type Usage struct {
	RSS       int64         `json:"rss_bytes"`     // resident memory
	VmSize    int64         `json:"vm_size_bytes"` // address space
	FDs       int           `json:"descriptors"`
	Threads   int           `json:"threads"`
	CPU       time.Duration `json:"cpu_ns"` // used since it started
	Processes int           `json:"processes"`
}

func (u *Usage) add(v Usage) {
	u.RSS += v.RSS
	u.VmSize += v.VmSize
	u.FDs += v.FDs
	u.Threads += v.Threads
	u.CPU += v.CPU
	u.Processes += v.Processes
}
