// Package e2e tests drover from the outside: whole programs on a real etcd, killed, paused and cut off, and then
// judged by what the rows and a journal outside etcd say. README.md tells which test holds which promise. The package
// also holds the repository to its own layout: which package may import which, where a package comment stands, how long
// a file may be.
//
// Nothing imports this package. Unlike the others, it may import everything.
package e2e
