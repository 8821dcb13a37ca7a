// Package trouble says once that something has begun to fail, and once that it
// works again, however often it is tried in between. In the meantime it knows
// why and since when, for whoever asks how a node is.
//
// It also has words for what etcd says ([Words]), for people who don't know
// etcd.
package trouble
