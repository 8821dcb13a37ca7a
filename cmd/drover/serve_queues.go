package main

import (
	"fmt"
	"strconv"
	"strings"
)

// mostRunning is how many processes a node, or a queue of it, may run at a time.
const mostRunning = 100_000

// maxServed is how many queues a node serves.
const maxServed = 60

// isServed is for what each word of --queues is to be.
func isServed(word string) error {
	name, limit, limited := strings.Cut(word, "=")
	n, err := strconv.Atoi(limit)
	if isName(name) != nil || limited && (err != nil || n < 1 || n > mostRunning) {
		return fmt.Errorf("each must be a NAME of 1 to 64 of A-Z a-z 0-9 . _ -, or NAME=N with an N from 1 to %d", mostRunning)
	}
	return nil
}

// servedQueues takes apart the words of --queues, which are well by themselves:
// names, each with =N if the node is to run at most N processes of that queue at
// a time.
func servedQueues(words []string) (names []string, limits map[string]int, err error) {
	limits = map[string]int{}
	seen := map[string]bool{}
	for _, word := range words {
		name, limit, limited := strings.Cut(word, "=")
		if seen[name] {
			return nil, nil, fmt.Errorf("--queues %s: %s is there twice", said(strings.Join(words, ",")), name)
		}
		seen[name] = true
		if limited {
			if limits[name], err = strconv.Atoi(limit); err != nil {
				return nil, nil, err
			}
		}
		names = append(names, name)
	}
	if len(names) > maxServed {
		return nil, nil, fmt.Errorf("--queues: there are %d, and a node serves %d at the most", len(names), maxServed)
	}
	return names, limits, nil
}
