package topic_test

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

func Example() {
	var tree topic.Tree[string]
	for _, s := range []struct{ who, filter string }{
		{"logger", "#"},
		{"display", "home/+/temperature"},
		{"worker 1", "$share/heating/home/#"},
		{"worker 2", "$share/heating/home/#"},
	} {
		group, inner, _, err := topic.ParseShared(s.filter)
		if err != nil {
			fmt.Println(err)
			continue
		}
		tree.Subscribe(group, inner, s.who, topic.Options{QoS: 1})
	}

	publisher := topic.Cache[string]{Tree: &tree}
	for range 2 {
		for _, target := range publisher.Lookup("home/kitchen/temperature") {
			if target.Share == nil {
				fmt.Println(target.Subscriber)
			} else if member, ok := target.Share.At(target.Share.Turn()); ok {
				fmt.Println(member.Subscriber, "of", target.Share.Name)
			}
		}
	}
	// Unordered output:
	// logger
	// display
	// worker 1 of heating
	// logger
	// display
	// worker 2 of heating
}

func ExampleStore() {
	var retained topic.Store[string]
	retained.Set("home/kitchen/temperature", "21")
	retained.Set("home/attic/temperature", "28")
	retained.Set("home/attic/humidity", "40")
	for _, e := range retained.AppendMatching(nil, "home/+/temperature") {
		fmt.Println(e.Name, e.Value)
	}
	// Unordered output:
	// home/kitchen/temperature 21
	// home/attic/temperature 28
}

func ExampleCheckFilter() {
	fmt.Println(topic.CheckFilter("home/#/temperature", codec.V4))
	fmt.Println(topic.CheckFilter("$share/a+b/home/#", codec.V5))
	// Output:
	// topic filter has a # that is not the whole last level [MQTT-4.7.1-2]
	// topic filter has a + or # in its ShareName; write $share/NAME/FILTER [MQTT-4.8.2-2]
}
