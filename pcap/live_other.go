//go:build !linux

package pcap

import (
	"context"
	"errors"
)

// Live needs the raw sockets of Linux.
func (d *Dissector) Live(context.Context, string, func(*Frame) error) error {
	return errors.New("live capture works on Linux alone; elsewhere pipe tcpdump -U -w - into mqlab pcap -")
}
