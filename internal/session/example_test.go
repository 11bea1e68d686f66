package session_test

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// A QoS 2 message whose PUBREC is lost with the connection.
func Example() {
	type event = session.Event[string]
	var s session.Session[string]
	run := func(name string, e event) {
		fmt.Println(name)
		for _, a := range s.Step(e, 0, nil) {
			switch a.Kind {
			case session.SendPublish:
				fmt.Printf("  send PUBLISH %d %q, DUP %t\n", a.ID, a.H, a.Dup)
			case session.SendPubrel:
				fmt.Printf("  send PUBREL %d\n", a.ID)
			case session.Release:
				fmt.Printf("  done with %q\n", a.H)
			}
		}
	}
	link := session.Link{Version: codec.V5, Present: true}
	run("connected", event{Kind: session.Connected, Link: &link})
	run("send", event{Kind: session.Send, QoS: 2, H: "open the door"})
	run("disconnected", event{Kind: session.Disconnected})
	run("connected", event{Kind: session.Connected, Link: &link})
	run("PUBREC", event{Kind: session.Pubrec, ID: 1})
	run("PUBCOMP", event{Kind: session.Pubcomp, ID: 1})
	// Output:
	// connected
	// send
	//   send PUBLISH 1 "open the door", DUP false
	// disconnected
	// connected
	//   send PUBLISH 1 "open the door", DUP true
	// PUBREC
	//   send PUBREL 1
	// PUBCOMP
	//   done with "open the door"
}
