package pcap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxLiveFrame is the largest frame taken from an interface: loopback and segmenting cards pass 64 KiB on.
const maxLiveFrame = 256 << 10

// Live takes in the frames of a network interface until the context ends. It needs the right to open
// raw sockets (CAP_NET_RAW), and no library. Frames are told to the callback before they are dissected, where it is not nil.
func (d *Dissector) Live(ctx context.Context, name string, frame func(*Frame) error) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("open the interface %s: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("capture on %s: raw sockets need the capability CAP_NET_RAW; give it to the program by setcap cap_net_raw+ep, or pipe tcpdump -U -w - into mqlab pcap -", name)
	}
	if err != nil {
		return fmt.Errorf("capture on %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if ifi.Flags&net.FlagLoopback != 0 {
		if err := dropOutgoing(fd); err != nil {
			return fmt.Errorf("capture on %s: %w", name, err)
		}
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20) // as much as the system allows
	all := uint16(unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: ifi.Index}); err != nil {
		return fmt.Errorf("capture on %s: %w", name, err)
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })()

	link := LinkEthernet
	if ifi.Flags&net.FlagLoopback == 0 && len(ifi.HardwareAddr) == 0 {
		link = LinkRaw // tunnels have no link layer
	}
	buf := make([]byte, maxLiveFrame)
	fr := Frame{Link: link}
	d.sum.Files++
	for {
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("capture on %s: %w", name, err)
		}
		fr.Number++
		fr.Nanos, fr.Data, fr.Length = time.Now().UnixNano(), buf[:n], n
		if frame != nil {
			if err := frame(&fr); err != nil {
				return err
			}
		}
		if err := d.Frame(&fr); err != nil {
			return err
		}
	}
}

// dropOutgoing keeps a loopback interface from showing every frame twice, going out and coming in.
func dropOutgoing(fd int) error {
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: maxLiveFrame},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, ins := range prog {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
