package loadgen

// phaseEvents are the events of a phase: cuts at once, clients that go and come, takeovers.
type phaseEvents struct{ next uint64 }

func (w *worker) phaseTimer(t timer) {
	for _, c := range w.clients {
		if len(c.emitters) > 0 {
			w.pump(c)
		}
	}
}

// orphan is a connection that a newer one with the same Client Identifier takes over.
type orphan struct{ fd int }

func (w *worker) orphanEvent(event) {}
