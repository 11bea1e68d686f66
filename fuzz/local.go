package fuzz

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Local looks a host up and reports whether all its addresses are loopback, link-local or private ones: others are not
// to be fuzzed by mistake. An empty host is a Unix socket.
func Local(ctx context.Context, host string) (bool, error) {
	if host == "" {
		return true, nil
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return false, fmt.Errorf("find the address of %s: %w", host, err)
	}
	for _, a := range addrs {
		if a = a.Unmap(); !a.IsLoopback() && !a.IsPrivate() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() {
			return false, nil
		}
	}
	return true, nil
}
