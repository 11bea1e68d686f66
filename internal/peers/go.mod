module github.com/mqlab/mqlab/internal/peers

go 1.26.0

require (
	github.com/eclipse/paho.golang v0.23.0
	github.com/eclipse/paho.mqtt.golang v1.5.1
	github.com/google/go-cmp v0.7.0
	github.com/mochi-mqtt/server/v2 v2.7.9
	github.com/mqlab/mqlab v0.0.0
	pgregory.net/rapid v1.3.0
)

replace github.com/mqlab/mqlab => ../..
