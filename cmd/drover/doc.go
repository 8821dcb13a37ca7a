// Package main is drover's daemon and command line.
//
// main only calls run, which takes what a process has from the outside and
// returns its exit code, so that tests call it as a shell would.
package main
