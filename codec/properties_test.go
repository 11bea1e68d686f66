package codec_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

func TestProperties(t *testing.T) {
	var p codec.Properties
	p.SetUint(codec.PropTopicAlias, 5)
	p.AddUser("a", "1")
	p.SetText(codec.PropContentType, "text/plain")
	p.AddUser("a", "2")
	p.SetUint(codec.PropSubscriptionID, 300)
	p.SetUint(codec.PropSubscriptionID, 7)
	p.SetBytes(codec.PropCorrelationData, []byte{1, 2})
	p.SetUint(codec.PropTopicAlias, 6) // replaces

	if got := p.Uint(codec.PropTopicAlias, 0); got != 6 {
		t.Errorf("Topic Alias %d, want 6", got)
	}
	if got := p.Uint(codec.PropMessageExpiry, 99); got != 99 {
		t.Errorf("an absent property is %d, want the default", got)
	}
	if got := p.Text(codec.PropContentType); got != "text/plain" {
		t.Errorf("Content Type %q", got)
	}
	if got := p.Bytes(codec.PropCorrelationData); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("Correlation Data %x", got)
	}
	var users []string
	for k, v := range p.UserProperties() {
		users = append(users, k+"="+v)
	}
	if diff := cmp.Diff([]string{"a=1", "a=2"}, users); diff != "" {
		t.Errorf("User Properties keep their order (-want +got):\n%s", diff)
	}
	var ids []uint32
	for id := range p.SubscriptionIDs() {
		ids = append(ids, id)
	}
	if diff := cmp.Diff([]uint32{300, 7}, ids); diff != "" {
		t.Errorf("Subscription Identifiers (-want +got):\n%s", diff)
	}

	q := p.Clone()
	p.Remove(codec.PropUserProperty)
	if p.Has(codec.PropUserProperty) || !q.Has(codec.PropUserProperty) {
		t.Error("Remove reached the clone, or did nothing")
	}
	p.Reset()
	if !p.Empty() || p.Has(codec.PropTopicAlias) {
		t.Error("Reset leaves properties")
	}
}

// TestSettingABorrowedPropertyDoesNotWriteToTheFrame holds that setters detach first.
func TestSettingABorrowedPropertyDoesNotWriteToTheFrame(t *testing.T) {
	frame := []byte{0x30, 8, 0, 1, 'a', 3, 0x23, 0, 2, 'x'}
	whole := bytes.Clone(frame)
	d := codec.Decoder{Version: codec.V5}
	p, err := d.Decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	pub := p.(*codec.Publish)
	pub.Props.SetUint(codec.PropTopicAlias, 9)
	pub.Props.SetUint(codec.PropMessageExpiry, 1)
	pub.Props.Remove(codec.PropTopicAlias)
	if diff := cmp.Diff(whole, frame); diff != "" {
		t.Errorf("the frame has changed (-want +got):\n%s", diff)
	}
}
