package gate

// dieWithParent can't be had on macOS: there is no such signal. When node and witness are killed at the same instant,
// what runs goes on.
func dieWithParent() {}
