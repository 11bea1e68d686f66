//go:build !linux

package loadgen

import (
	"errors"
	"net/netip"
)

const directSockets = false

var errAgain = errors.New("nothing to be had")

var errNoSockets = errors.New("workers do no input and output themselves on this system")

func (p *poller) add(int, uint64) error { return errNoSockets }

func dialSocket(netip.AddrPort, string, netip.Addr) (int, error) { return -1, errNoSockets }
func socketError(int) error                                      { return errNoSockets }
func readSocket(int, []byte) (int, error)                        { return 0, errNoSockets }

type arrivals struct{}

func (*arrivals) read(int, []byte) (int, int64, error) { return 0, 0, errNoSockets }
func writeSocket(int, []byte) (int, error)             { return 0, errNoSockets }
func closeSocket(int, bool)                            {}
