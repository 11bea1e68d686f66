//go:build !unix

package broker

import (
	"errors"
	"net"
)

// rawIO is for systems whose sockets can be read and written without waiting; here every
// connection takes the ordinary way.
type rawIO struct{}

func newRawIO(net.Conn, func() []byte, func()) rawIO { return rawIO{} }

func (*rawIO) ok() bool { return false }

func (*rawIO) read() (int, error) { return 0, errors.ErrUnsupported }

func (*rawIO) write([]byte) (int, bool, error) { return 0, false, errors.ErrUnsupported }
