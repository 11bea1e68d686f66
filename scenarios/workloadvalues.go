package scenarios

// Rate is a number of events per second.
type Rate float64

// Bandwidth is a number of bytes per second.
type Bandwidth float64

// QoSMix holds the shares of QoS 0, 1 and 2. All zero is QoS 0.
type QoSMix [3]float64

// Size is a distribution of sizes in bytes. Exactly one form is used: Fixed, or Min and Max (every size between them
// alike), or Mean and Deviation (normal, cut at 0 and at MaximumSize).
type Size struct {
	Fixed           int
	Min, Max        int
	Mean, Deviation float64
}

// MaximumSize bounds payloads of generated messages, in bytes.
const MaximumSize = 256 << 20
