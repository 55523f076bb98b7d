#include <stdio.h>

int main(void)
{
    puts("Good morning, that's a nice tnetennba!");
    return 0;
}
