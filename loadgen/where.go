package loadgen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/transport"
)

// where resolves the server of a group.
func (p *plan) where(g *group) error {
	url := g.Target
	if url == "" {
		url = p.cfg.Target
	}
	t, err := transport.Parse(url)
	if err != nil {
		return err
	}
	g.url, g.target, g.tls = url, t, p.cfg.TLS
	if !directSockets {
		return nil
	}
	switch t.Scheme {
	case transport.SchemeUnix:
		g.direct, g.path = true, t.Path
	case transport.SchemeMQTT:
		g.direct = true
		if a, err := netip.ParseAddr(t.Host); err == nil {
			g.addrs = []netip.AddrPort{netip.AddrPortFrom(a, t.Port)}
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.Host)
		if err != nil || len(addrs) == 0 {
			return fmt.Errorf("look up the server %s: %w", t.Host, err)
		}
		// Addresses of one family: a name such as localhost often has a second one on which nothing listens.
		first := addrs[0].Unmap()
		for _, a := range addrs {
			if a = a.Unmap(); a.Is4() {
				first = a
				break
			}
		}
		for _, a := range addrs {
			if a = a.Unmap(); a.Is4() == first.Is4() && (a.IsLoopback() == first.IsLoopback()) {
				g.addrs = append(g.addrs, netip.AddrPortFrom(a, t.Port))
			}
		}
	}
	return nil
}

// sourceOf is the local address of a client, the zero address where the system chooses.
func (p *plan) sourceOf(number int) netip.Addr {
	if len(p.sources) == 0 {
		return netip.Addr{}
	}
	return p.sources[number%len(p.sources)]
}

// descriptorsBeside is how many descriptors the process needs for itself.
const descriptorsBeside = 64

// fits says beforehand why the clients do not fit into this process, or nil.
func (p *plan) fits() error {
	limit := raiseDescriptors()
	sockets := 0
	for _, g := range p.groups {
		if g.target.Scheme != transport.SchemeMem {
			sockets += g.Count
		}
	}
	if limit > 0 && sockets+descriptorsBeside > limit {
		return fmt.Errorf("%d clients need as many descriptors, and this process may open %d: lower the number of clients to %d, raise the hard limit (ulimit -Hn, LimitNOFILE of a service), or spread the load over several processes",
			sockets, limit, limit-descriptorsBeside)
	}
	return p.portsFor(localPorts())
}

// portsFor says why so many local ports for each source address do not suffice, or nil; 0 is not known.
func (p *plan) portsFor(ports int) error {
	perTarget := map[string]int{}
	for _, g := range p.groups {
		if g.target.Scheme != transport.SchemeMem && g.target.Scheme != transport.SchemeUnix {
			perTarget[g.target.Addr()] += g.Count
		}
	}
	for addr, n := range perTarget {
		if have := ports * max(1, len(p.sources)); ports > 0 && n > have {
			return fmt.Errorf("%d connections to %s need %d local ports, and %d source addresses have %d each: give %d addresses with --source (on loopback 127.0.0.0/24 works at once), or widen net.ipv4.ip_local_port_range",
				n, addr, n, max(1, len(p.sources)), ports, (n+ports-1)/ports)
		}
	}
	return nil
}

// adviceOn says what to do about an error that is met often, "" where there is nothing to say.
func (p *plan) adviceOn(reason string) string {
	addr := p.groups[0].target.Addr()
	switch {
	case strings.Contains(reason, "cannot assign requested address"):
		n := localPorts()
		if n == 0 {
			return "the local ports are used up: spread the connections over more source addresses with --source"
		}
		return fmt.Sprintf("each source address has %d ports towards one server, those of connections that just ended included: %d clients want %d addresses or more; give them with --source 127.0.0.0/24, or widen net.ipv4.ip_local_port_range",
			n, p.clients, (p.clients+n-1)/n+1)
	case strings.Contains(reason, "too many open files"):
		return fmt.Sprintf("this process may open %d descriptors: raise the hard limit (ulimit -Hn), or lower the number of clients", raiseDescriptors())
	case strings.Contains(reason, "connection refused"):
		return "nothing listens at " + addr + ", or its queue of new connections is full: check the address, or give a connect_rate"
	case strings.Contains(reason, "No such file"), strings.Contains(reason, "no such file"):
		return "there is no socket at " + addr
	}
	return ""
}

// defaultWorkers is the number of event loops: the server under test shares the machine more often than not.
func defaultWorkers() int { return max(1, min(4, runtime.GOMAXPROCS(0)/2)) }

var errNobody = errors.New("no client could connect")
