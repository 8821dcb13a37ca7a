package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// What stands on the command line beside flags is checked before anything is
// done, as the values of flags are.

// called is how a command was named after drover, whose name every message
// begins with.
func called(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// noArguments is for a command that takes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(fmt.Errorf("%s takes no arguments, and %s was given", called(cmd), said(args[0])))
}

// oneArgument is for a command that takes one, such as a QUEUE.
func oneArgument(what string, check func(string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage(fmt.Errorf("%s needs the %s", called(cmd), what))
		case len(args) > 1:
			return usage(fmt.Errorf("%s takes one %s, and %s is another", called(cmd), what, said(args[1])))
		}
		return eachArgument(what, check)(cmd, args)
	}
}

// eachArgument is for a command that takes any number.
func eachArgument(what string, check func(string) error) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		for _, arg := range args {
			if err := check(arg); err != nil {
				return usage(wrong(what, arg, err))
			}
		}
		return nil
	}
}

// someIDs is for a command that takes one ID or more.
func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(fmt.Errorf("%s needs an ID, or several", called(cmd)))
	}
	return eachArgument("ID", isID)(cmd, args)
}

// noSuchCommand is for what cobra takes for an argument of a command that has
// only others below it.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ", did you mean " + or(near) + "?"
	}
	return usage(errors.New(text))
}
