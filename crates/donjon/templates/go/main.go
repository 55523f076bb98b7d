// Greets whom the arguments name.
package main

import (
	"fmt"
	"os"
)

func main() {
	for _, name := range os.Args[1:] {
		fmt.Printf("Hello from Go, %s!\n", name)
	}
}
