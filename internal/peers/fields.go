package peers

import "github.com/mqlab/mqlab/codec"

// field ties one property to its place in a peer's struct.
type field struct {
	id  codec.PropID
	get func() []Prop // nothing where the struct says that the property is absent
	set func(Prop)
}

type integer interface {
	~byte | ~uint16 | ~uint32 | ~int
}

// flagged is an integer whose presence is a flag of its own.
func flagged[T integer](id codec.PropID, v *T, present *bool) field {
	return field{
		id: id,
		get: func() []Prop {
			if !*present {
				return nil
			}
			return []Prop{{ID: id, Int: uint32(*v)}}
		},
		set: func(p Prop) { *v, *present = T(p.Int), true },
	}
}

// plain is an integer whose zero value says that the property is absent.
func plain[T integer](id codec.PropID, v *T) field {
	return field{
		id: id,
		get: func() []Prop {
			if *v == 0 {
				return nil
			}
			return []Prop{{ID: id, Int: uint32(*v)}}
		},
		set: func(p Prop) { *v = T(p.Int) },
	}
}

// option is an integer that is absent where the pointer is nil.
func option[T integer](id codec.PropID, v **T) field {
	return field{
		id: id,
		get: func() []Prop {
			if *v == nil {
				return nil
			}
			return []Prop{{ID: id, Int: uint32(**v)}}
		},
		set: func(p Prop) { n := T(p.Int); *v = &n },
	}
}

// list is an integer that may stand several times.
func list(id codec.PropID, v *[]int) field {
	return field{
		id: id,
		get: func() []Prop {
			var props []Prop
			for _, n := range *v {
				props = append(props, Prop{ID: id, Int: uint32(n)})
			}
			return props
		},
		set: func(p Prop) { *v = append(*v, int(p.Int)) },
	}
}

// text is a string that is absent where it is empty.
func text(id codec.PropID, v *string) field {
	return field{
		id: id,
		get: func() []Prop {
			if *v == "" {
				return nil
			}
			return []Prop{{ID: id, Value: *v}}
		},
		set: func(p Prop) { *v = p.Value },
	}
}

// data is a slice of bytes that is absent where it is nil.
func data(id codec.PropID, v *[]byte) field {
	return field{
		id: id,
		get: func() []Prop {
			if *v == nil {
				return nil
			}
			return []Prop{{ID: id, Value: string(*v)}}
		},
		set: func(p Prop) { *v = []byte(p.Value) },
	}
}

// pairs is a list of User Properties of whatever type.
func pairs[T any](v *[]T, split func(T) (key, value string), join func(key, value string) T) field {
	return field{
		id: codec.PropUserProperty,
		get: func() []Prop {
			var props []Prop
			for _, u := range *v {
				key, value := split(u)
				props = append(props, Prop{ID: codec.PropUserProperty, Key: key, Value: value})
			}
			return props
		},
		set: func(p Prop) { *v = append(*v, join(p.Key, p.Value)) },
	}
}

// read collects the properties that a peer's struct holds.
func read(fields []field) []Prop {
	var props []Prop
	for _, f := range fields {
		props = append(props, f.get()...)
	}
	return sorted(props)
}

// write sets the properties in a peer's struct.
func write(fields []field, props []Prop) {
	for _, p := range props {
		for _, f := range fields {
			if f.id == p.ID {
				f.set(p)
			}
		}
	}
}
