package codec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

// TestFieldsCoverTheFrame holds that the fields of any vector, legal or not, join up from the
// first byte to the last.
func TestFieldsCoverTheFrame(t *testing.T) {
	for _, v := range packetgen.Vectors(t) {
		for _, ver := range v.Versions {
			at := 0
			for _, f := range codec.AppendFields(nil, v.Frame, ver) {
				if f.Offset != at || f.Len <= 0 || f.Name == "" {
					t.Errorf("%s: field %+v does not follow byte %d", v.Name, f, at)
				}
				at = f.Offset + f.Len
				if f.Name == codec.FieldSurplus && v.OK {
					t.Errorf("%s: surplus bytes in a legal packet: %+v", v.Name, f)
				}
			}
			if at != len(v.Frame) {
				t.Errorf("%s: fields cover %d of %d bytes", v.Name, at, len(v.Frame))
			}
		}
	}
}

func TestFields(t *testing.T) {
	frame := []byte{0x32, 12, 0, 1, 'a', 0, 9, 3, 0x23, 0, 2, 'h', 'i', '!'}
	want := []codec.Field{
		{Name: codec.FieldHeader, Kind: codec.KindByte, Offset: 0, Len: 1},
		{Name: codec.FieldRemaining, Kind: codec.KindVarint, Offset: 1, Len: 1},
		{Name: codec.FieldTopic, Kind: codec.KindString, Offset: 2, Len: 3},
		{Name: codec.FieldPacketID, Kind: codec.KindUint16, Offset: 5, Len: 2},
		{Name: codec.FieldPropertyLength, Kind: codec.KindVarint, Offset: 7, Len: 1},
		{Name: "Topic Alias", Kind: codec.KindUint16, Prop: codec.PropTopicAlias, Offset: 8, Len: 3},
		{Name: codec.FieldPayload, Kind: codec.KindNone, Offset: 11, Len: 3},
	}
	if diff := cmp.Diff(want, codec.AppendFields(nil, frame, codec.V5)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
