// Package kinds holds the handlers of the kinds that come with the daemon.
//
//   - exec runs a command: Exec is its handler, Command what it runs, and ExecInput and ExecOutput are what stands in
//     the row. A command is watched by the node's witness, so it is gone, with all that it started in its process
//     group, when the node is; see supervisor.WitnessLink.
//   - http sends a request: HTTP is its handler, and HTTPInput and HTTPOutput are what stands in the row.
//   - sleep waits, and noop does nothing.
//
// Outputs are bounded, whatever comes: of each stream of a command the end is kept, of an answer's body the beginning, in
// memory as in the row. The whole streams go to ExecOptions.LogDir, and the tail of a running command's into its progress.
package kinds
