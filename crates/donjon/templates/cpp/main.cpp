// Greets whom the arguments name.

#include <iostream>
#include <string>
#include <vector>

int main(int argc, char **argv) {
    const std::vector<std::string> names(argv + 1, argv + argc);
    for (const auto &name : names) {
        std::cout << "Hello from C++, " << name << "!\n";
    }
}
