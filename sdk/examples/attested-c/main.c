/* What a program does with its Keep's identity, one thing for each command:
 *
 *   cat NAME                      a file of /run/donjon
 *   evidence TEXT                 evidence over this text, a bundle for `donjon verify`
 *   key CONTEXT                   a key that only this workload gets, in hexadecimal: for a trial, because a key is a secret
 *   sign TEXT                     a signature in hexadecimal, and the certificates of its key
 *   verify TEXT SIGNATURE ROLES   whether a Keep in one of the roles signed it; certificates come by standard input */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../c/donjon.h"

static char answer[64 * 1024];
static char input[64 * 1024];

static int failed(int32_t status) {
    static const char *const words[] = {
        "",
        "this Keep has none",
        "more bytes than are taken",
        "no chain of certificates in PEM, or no name of a role",
        "the Deployment does not let this Keep talk to that role",
        "the certificates are of no Keep that this one may believe",
        "the signature is not of these bytes by that Keep",
        "the answer has no room",
    };
    fprintf(stderr, "error: %s\n", words[status]);
    return 1;
}

static void print_hex(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static int cat(const char *name) {
    char path[256];
    snprintf(path, sizeof path, DONJON_FILES "/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    size_t count;
    while ((count = fread(answer, 1, sizeof answer, file)) > 0) fwrite(answer, 1, count, stdout);
    fclose(file);
    return 0;
}

int main(int argc, char **argv) {
    const char *command = argc > 2 ? argv[1] : "";
    const char *text = argc > 2 ? argv[2] : "";
    size_t size = 0;
    int32_t status;

    if (!strcmp(command, "cat")) return cat(text);
    if (!strcmp(command, "evidence")) {
        status = donjon_evidence(text, strlen(text), answer, sizeof answer, &size);
        if (status) return failed(status);
        fwrite(answer, 1, size, stdout);
        return 0;
    }
    if (!strcmp(command, "key")) {
        uint8_t key[32];
        status = donjon_derive_key(text, strlen(text), key);
        if (status) return failed(status);
        print_hex(key, sizeof key);
        return 0;
    }
    if (!strcmp(command, "sign")) {
        uint8_t signature[128];
        size_t length = 0;
        status = donjon_sign(text, strlen(text), signature, sizeof signature, &length, answer, sizeof answer, &size);
        if (status) return failed(status);
        print_hex(signature, length);
        fwrite(answer, 1, size, stdout);
        return 0;
    }
    if (!strcmp(command, "verify") && argc == 5) {
        uint8_t signature[128];
        size_t length = 0;
        for (const char *hex = argv[3]; hex[0] && hex[1] && length < sizeof signature; hex += 2) {
            char pair[3] = {hex[0], hex[1], 0};
            signature[length++] = (uint8_t)strtoul(pair, NULL, 16);
        }
        size_t certificates = fread(input, 1, sizeof input, stdin);
        status = donjon_verify(text, strlen(text), signature, length, input, certificates, argv[4], strlen(argv[4]),
                               answer, sizeof answer, &size);
        if (status) return failed(status);
        fwrite(answer, 1, size, stdout);
        return 0;
    }
    fprintf(stderr, "usage: cat NAME | evidence TEXT | key CONTEXT | sign TEXT | verify TEXT SIGNATURE ROLES\n");
    return 2;
}
