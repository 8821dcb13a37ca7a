package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

// completeStatus offers what may follow in a list that is parted by commas.
func completeStatus(among func(registry.Status) bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		before := typed[:strings.LastIndexByte(typed, ',')+1]
		var offers []string
		for _, s := range allStatuses {
			if among(s) && !slices.Contains(strings.Split(before, ","), string(s)) {
				offers = append(offers, before+string(s))
			}
		}
		return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeOneOf offers fixed words for a flag.
func completeOneOf(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// offer makes completions part of a flag. A flag that is not there is a fault of this
// program, which its tests find.
func offer(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err)
	}
}

// completeKind offers drover's own kinds; others are for whoever serves them to know.
func completeKind(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return ownKinds, cobra.ShellCompDirectiveNoFileComp
}
