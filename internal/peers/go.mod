module github.com/mqlab/mqlab/internal/peers

go 1.26

require github.com/mqlab/mqlab v0.0.0

require (
	github.com/eclipse/paho.golang v0.23.0 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/mochi-mqtt/server/v2 v2.7.9 // indirect
	github.com/rs/xid v1.4.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/mqlab/mqlab => ../..
