package pcap_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// An exported stream is one between the same addresses, of either family.
func TestExportKeepsAddresses(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		k := newTalk()
		k.buf.Truncate(24) // the handshake is written again, by the right family
		k.v6, k.seq = v6, [2]uint32{1000, 5000}
		k.open(k.seq)
		k.seq[0]++
		k.seq[1]++
		k.say(0, encode(t, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true}))
		k.say(1, encode(t, codec.V4, &codec.Connack{}))
		ends := func(capture []byte, cfg pcap.Config) (out []string) {
			packet := cfg.Packet
			cfg.Packet = func(p *pcap.Packet) error {
				out = append(out, p.Type.String()+" "+p.Stream.Client.String()+" "+p.Stream.Server.String())
				if packet != nil {
					return packet(p)
				}
				return nil
			}
			d := pcap.NewDissector(cfg)
			if err := errors.Join(d.Read(bytes.NewReader(capture)), d.Close()); err != nil {
				t.Fatal(err)
			}
			return out
		}
		var exported bytes.Buffer
		x, err := pcap.NewExport(&exported)
		if err != nil {
			t.Fatal(err)
		}
		want := ends(k.buf.Bytes(), pcap.Config{Packet: x.Packet, End: x.End})
		if len(want) != 2 {
			t.Fatalf("the capture holds %q", want)
		}
		if diff := cmp.Diff(want, ends(exported.Bytes(), pcap.Config{})); diff != "" {
			t.Error(diff)
		}
	}
}
