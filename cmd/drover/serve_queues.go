package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/drover-run/drover/registry"
)

// servedQueues reads --queues: names, each with =N if the node is to run at
// most N processes of that queue at a time.
func servedQueues(flag []string) (names []string, limits map[string]int, err error) {
	limits = map[string]int{}
	seen := map[string]bool{}
	var errs []error
	for _, word := range flag {
		name, limit, limited := strings.Cut(word, "=")
		errs = append(errs, registry.CheckName("queue", name))
		if limited {
			n, err := strconv.Atoi(limit)
			if err != nil || n < 1 {
				errs = append(errs, fmt.Errorf("--queues %s: what follows = must be a number, 1 or more", word))
			}
			limits[name] = n
		}
		if seen[name] {
			errs = append(errs, fmt.Errorf("--queues: %s is there twice", name))
		}
		seen[name] = true
		names = append(names, name)
	}
	if len(names) == 0 {
		errs = append(errs, errors.New("--queues: name at least one queue"))
	}
	return names, limits, errors.Join(errs...)
}
