// Package undertaker is what a witness becomes once its node is dead and nothing is left of what the node had started: it
// says so in etcd, by executing the wills that the node had left with its witness, and ends. Others then take over at
// once, instead of when the session's TTL is over.
//
// A will is opaque to the witness, which stays small by not knowing etcd. This package does, so it gets its turn, in an
// init function, when all that it imports is initialised; main is never reached. The witness enters it by executing the
// program in place: pid and start time stay, so whoever asks the kernel about the witness still finds it at work.
//
// A will has a letter, which the witness can post by itself, unless etcd asks for TLS or for a password: then this package
// has nothing left to do if etcd agrees to it.
//
// # Limits
//
// It tries for a minute: by then the session has expired, and most of what it could say is known. An etcd that died
// along with the node can't be told anything; a node with an etcd of its own leaves no will.
package undertaker
