//go:build !linux

package loadgen

import "time"

// poller waits for wake alone: where there is no epoll each connection has a goroutine.
type poller struct{ woken chan struct{} }

type event struct {
	token             uint64
	readable, closing bool
	writable          bool
}

func newPoller() (*poller, error) { return &poller{woken: make(chan struct{}, 1)}, nil }

func (p *poller) prepare() {}

func (p *poller) wait(timeout int64, _ func(event)) error {
	if timeout <= 0 {
		return nil
	}
	if timeout == never {
		<-p.woken
		return nil
	}
	t := time.NewTimer(time.Duration(timeout))
	defer t.Stop()
	select {
	case <-p.woken:
	case <-t.C:
	}
	return nil
}

func (p *poller) wake() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *poller) close() {}

func threadCPU() int64 { return 0 }
