package fuzz

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(playTarget(role))
	}
	goleak.VerifyTestMain(m)
}
