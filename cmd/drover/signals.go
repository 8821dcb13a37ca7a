package main

import (
	"os"
	"os/signal"
	"syscall"
)

// signals are what ends a long-lived command. The channel has room for the
// first and the second of them, which mean different things.
func signals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// exitOfSignal is the exit code of a program that a signal ended.
func exitOfSignal(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitFailed
}
