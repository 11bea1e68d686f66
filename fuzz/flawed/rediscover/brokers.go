package main

// old is a published version of a broker.
type old struct {
	name, version string
	program       string            // of this machine, where nothing is built
	files         map[string]string // written to its folder
	steps         [][]string        // commands that build it there
	run           string            // command line, with {folder} or {program}, {port} and {dir}
}

// inGo is a broker of the Go module proxy: a main package around it.
func inGo(name, module, version, main string) old {
	return old{
		name: name, version: version, files: map[string]string{"main.go": main}, run: "{folder}/broker {port}",
		steps: [][]string{{"go", "mod", "init", "old"}, {"go", "get", module + "@" + version}, {"go", "mod", "tidy"}, {"go", "build", "-o", "broker", "."}},
	}
}

// inNode is a broker of the npm registry. No script of a package runs when it is installed.
func inNode(name, pkg, version, main string) old {
	return old{
		name: name, version: version, files: map[string]string{"main.js": main, "package.json": `{"name": "old", "private": true}`},
		run:   "node {folder}/main.js {port}",
		steps: [][]string{{"npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", pkg + "@" + version}},
	}
}

// brokers are those that are looked at, with mosquitto as the one that millions use.
var brokers = []old{
	inGo("mochi", "github.com/mochi-mqtt/server/v2", "v2.7.9", mochi),
	inGo("mochi-2.3", "github.com/mochi-mqtt/server/v2", "v2.3.0", mochiOlder),
	inGo("mochi-1", "github.com/mochi-co/mqtt", "v1.3.2", mochiOne),
	inGo("gmqtt", "github.com/DrmagicE/gmqtt", "v0.1.4", gmqtt),
	inGo("hmq", "github.com/fhmq/hmq", "v1.5.6", hmq),
	inNode("aedes", "aedes", "0.51.3", aedes),
	inNode("aedes-0.42", "aedes", "0.42.5", aedes),
	{name: "mosquitto", version: "of this machine", program: "mosquitto", run: "{program} -p {port}"},
}

const mochi = `package main

import (
	"os"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	s := mqtt.New(nil)
	_ = s.AddHook(new(auth.AllowHook), nil)
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:" + os.Args[1]})); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const mochiOlder = `package main

import (
	"os"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	s := mqtt.New(nil)
	_ = s.AddHook(new(auth.AllowHook), nil)
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1], nil)); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const mochiOne = `package main

import (
	"os"

	mqtt "github.com/mochi-co/mqtt/server"
	"github.com/mochi-co/mqtt/server/listeners"
)

func main() {
	s := mqtt.NewServer(nil)
	if err := s.AddListener(listeners.NewTCP("t", "127.0.0.1:"+os.Args[1]), nil); err != nil {
		panic(err)
	}
	if err := s.Serve(); err != nil {
		panic(err)
	}
	select {}
}
`

const gmqtt = `package main

import (
	"net"
	"os"

	"github.com/DrmagicE/gmqtt"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		panic(err)
	}
	gmqtt.NewServer(gmqtt.WithTCPListener(l)).Run()
	select {}
}
`

const hmq = `package main

import (
	"os"

	"github.com/fhmq/hmq/broker"
)

func main() {
	b, err := broker.NewBroker(&broker.Config{Host: "127.0.0.1", Port: os.Args[1], Worker: 64})
	if err != nil {
		panic(err)
	}
	b.Start()
	select {}
}
`

const aedes = `const aedes = require('aedes')()
require('net').createServer(aedes.handle).listen(+process.argv[2], '127.0.0.1')
`
