//go:build unix

package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestAPipeIsNotOpenedOnlyToSeeWhetherItCanBe: nobody could read from it any
// more what was written for it.
func TestAPipeIsNotOpenedOnlyToSeeWhetherItCanBe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "password")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	checked := make(chan error, 1)
	go func() { checked <- isFile(pipe) }()
	select {
	case err := <-checked:
		if err != nil {
			t.Errorf("a pipe is refused: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the check waits for who writes to it")
	}
}
