// Command covered is a broker for a test: what a client sends leads to code that no answer tells of.
package main

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/mqlab/mqlab/broker"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	b := broker.New(broker.Config{})
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _ = b.ServeConn(&conn{Conn: nc}) }()
	}
}

// conn counts packets of some kinds.
type conn struct {
	net.Conn
}

var auths, acks, unsubscribes atomic.Int64

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 1 {
		switch p[0] {
		case 0xF0:
			auths.Add(1)
		case 0x40:
			acks.Add(1)
		case 0xA2:
			unsubscribes.Add(1)
		}
	}
	return n, err
}
