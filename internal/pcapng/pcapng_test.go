package pcapng

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

var (
	client = netip.MustParseAddrPort("127.0.0.1:50001")
	server = netip.MustParseAddrPort("127.0.0.1:1883")
	begin  = time.Unix(1_700_000_000, 123_456_789)
)

// conversation is a CONNECT, a CONNACK and a large PUBLISH.
func conversation(t *testing.T, client, server netip.AddrPort) ([]byte, []byte) {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, RawIP, "a comment of odd length")
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Stream(begin, client, server)
	if err != nil {
		t.Fatal(err)
	}
	connect, _ := hex.DecodeString("101000044d5154540402000000046d716c61")
	publish := append([]byte{0x30, 0x83, 0x20, 0, 1, 'a'}, bytes.Repeat([]byte{'x'}, 4096)...)
	connack := []byte{0x20, 2, 0, 0}
	for _, step := range []struct {
		fromServer bool
		b          []byte
	}{{false, connect}, {true, connack}, {false, publish}} {
		if err := s.Data(begin.Add(time.Millisecond), step.fromServer, step.b, "a step"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(begin.Add(time.Second), true); err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), append(append([]byte{}, connect...), publish...)
}

func TestAnotherReaderReadsIt(t *testing.T) {
	for _, tt := range []struct {
		name           string
		client, server netip.AddrPort
		layer          gopacket.LayerType
	}{
		{"IPv4", client, server, layers.LayerTypeIPv4},
		{"IPv4 written as IPv6", netip.MustParseAddrPort("[::ffff:127.0.0.1]:50001"), server, layers.LayerTypeIPv4},
		{"IPv6", netip.MustParseAddrPort("[2001:db8::1]:50001"), netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:1883"), layers.LayerTypeIPv6},
		{"one of each", client, netip.MustParseAddrPort("[::1]:1883"), layers.LayerTypeIPv6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, fromClient := conversation(t, tt.client, tt.server)
			r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			first := true
			for {
				data, info, err := r.ReadPacketData()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if first && !info.Timestamp.Equal(begin) {
					t.Errorf("the first packet is of %v, want %v", info.Timestamp, begin)
				}
				first = false
				p := gopacket.NewPacket(data, tt.layer, gopacket.Default)
				if p.ErrorLayer() != nil {
					t.Fatal(p.ErrorLayer().Error())
				}
				if tt.layer == layers.LayerTypeIPv4 && sum(data[:20], 0) != 0xFFFF {
					t.Error("the checksum of an IP header is wrong")
				}
				tcp := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
				if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
					t.Fatal(err)
				}
				if again, err := tcp.ComputeChecksum(); err != nil || again != 0 {
					t.Errorf("the checksum of a segment leaves %#x, %v", again, err)
				}
				if tcp.DstPort == 1883 {
					got = append(got, tcp.Payload...)
					from, to := p.NetworkLayer().NetworkFlow().Endpoints()
					if tt.name == "IPv6" && (from.String() != tt.client.Addr().String() || to.String() != tt.server.Addr().String()) {
						t.Errorf("a packet goes from %v to %v", from, to)
					}
				}
			}
			if !bytes.Equal(got, fromClient) {
				t.Errorf("%d bytes came from the client, want %d", len(got), len(fromClient))
			}
		})
	}
	if w, err := NewWriter(io.Discard, RawIP, ""); err != nil {
		t.Fatal(err)
	} else if _, err := w.Stream(begin, netip.AddrPort{}, server); err == nil {
		t.Error("a connection from nowhere is taken")
	}
}

func TestTsharkDissectsMQTT(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is not installed")
		}
		t.Skip("tshark is not installed")
	}
	file, _ := conversation(t, netip.MustParseAddrPort("[2001:db8::1]:50001"), netip.MustParseAddrPort("[2001:db8::2]:1883"))
	name := filepath.Join(t.TempDir(), "a.pcapng")
	if err := os.WriteFile(name, file, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, "-r", name, "-Y", "mqtt || _ws.malformed || tcp.analysis.flags", "-T", "fields", "-e", "mqtt.msgtype", "-o", "tcp.check_checksum:TRUE")
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "1 2 3" {
		t.Errorf("tshark sees packet types %v, want 1 2 3", got)
	}
}

func TestWriteErrorIsKept(t *testing.T) {
	if _, err := NewWriter(failing{}, RawIP, ""); err == nil {
		t.Error("a failed write was not reported")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
