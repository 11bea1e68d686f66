package peer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

func TestActsTellWhatAScriptDid(t *testing.T) {
	ours, theirs := transport.Pipe()
	tr := NewTranscript("secret")
	c := New(ours, Config{Name: "c1", Version: codec.V4, Transcript: tr, AutoAck: true})
	server := New(theirs, Config{Version: codec.V4, Remote: codec.Client})
	if err := c.Send(&codec.Pingreq{}); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(&codec.Publish{Topic: "a", QoS: 1, PacketID: 7, Payload: []byte("a secret")}); err != nil {
		t.Fatal(err)
	}
	publish := func(e *Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypePublish }
	if _, err := c.Await(5*time.Second, publish); err != nil {
		t.Fatal(err)
	}
	puback := func(e *Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypePuback }
	if _, err := server.Await(5*time.Second, puback); err != nil {
		t.Fatal(err)
	}
	c.SetAutoAck(false)
	_ = server.Close()
	if _, ok := c.AwaitClose(5 * time.Second); !ok {
		t.Fatal("the end was not seen")
	}
	_ = c.Close()

	acts, whole := tr.Acts()
	if !whole {
		t.Error("the acts are not whole")
	}
	count := map[ActKind]int{}
	for _, a := range acts {
		count[a.Kind]++
	}
	want := map[ActKind]int{ActOpen: 1, ActSend: 2, ActArrived: 1, ActTake: 1, ActAnswers: 1, ActOver: 1, ActEnd: 1, ActClose: 1}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("acts (-want +got): %s", diff)
	}
	auto := map[string]bool{}
	for _, e := range tr.Entries() {
		if e.Dir == Sent {
			auto[codec.Type(e.Bytes[0]>>4).String()] = e.Auto
		}
		if e.Dir == Received && string(e.Bytes[len(e.Bytes)-8:]) != "a ******" {
			t.Errorf("the secret shows in %q", e.Bytes)
		}
	}
	if diff := cmp.Diff(map[string]bool{"PINGREQ": false, "PUBACK": true}, auto); diff != "" {
		t.Errorf("automatic answers (-want +got): %s", diff)
	}
}

func TestActsAreBounded(t *testing.T) {
	tr := NewTranscript()
	for range maxActs + 10 {
		tr.Act(Act{Kind: ActWait})
	}
	if acts, whole := tr.Acts(); whole || len(acts) != maxActs {
		t.Errorf("%d acts are kept, whole: %v", len(acts), whole)
	}
}
