// Greets whom the arguments name.

#include <stdio.h>

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        printf("Hello from C, %s!\n", argv[i]);
    }
}
