/* What a program in a Keep does with the Keep's identity, for modules of WASI 0.1: spec/keep-interface.md.
 *
 * Each function gives a status of enum donjon_status. Where an answer goes into the caller's memory, `room` is how much there
 * is, and `*size` is how much the answer takes, also where that is more: then the status is DONJON_NO_ROOM, and the caller
 * asks again. Nothing has a NUL at its end. */
#ifndef DONJON_H
#define DONJON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where [identity] files = true in the manifest puts brief and, of a Keep with a certificate, certificates.pem, anchors.pem,
 * claims.json and evidence.csr; connect/NAME, connect/HOST:PORT and listen/NAME are connections. */
#define DONJON_FILES "/run/donjon"

enum donjon_status {
    DONJON_OK = 0,
    DONJON_UNAVAILABLE = 1,     /* the platform or this launch has none */
    DONJON_TOO_LONG = 2,        /* more bytes than the function takes */
    DONJON_MALFORMED = 3,       /* no chain in PEM, no name of a role, no pointer into memory */
    DONJON_NOT_A_PEER = 4,      /* the Deployment does not let this Keep talk to that role */
    DONJON_UNTRUSTED = 5,       /* the certificates are of no Keep that this one may believe now */
    DONJON_WRONG_SIGNATURE = 6, /* they are, and its key did not sign these bytes */
    DONJON_NO_ROOM = 7
};

#define DONJON_IMPORT(name) __attribute__((import_module("donjon_keep_0_1"), import_name(#name))) int32_t donjon_##name

/* Evidence of the hardware over at most 4096 bytes: an evidence bundle (spec/bundle.md), JSON. */
DONJON_IMPORT(evidence)(const void *data, size_t length, char *bundle, size_t room, size_t *size);

/* A secret for a context of at most 128 bytes, the same at each start of this workload in its role on this machine. */
DONJON_IMPORT(derive_key)(const void *context, size_t length, uint8_t key[32]);

/* Signs at most 1 MiB by the key of the Keep's certificate: ECDSA-Sig-Value in DER, at most 104 bytes, and the certificates in
 * PEM, the Keep's first, the root last. */
DONJON_IMPORT(sign)(const void *data, size_t length, uint8_t *signature, size_t signature_room, size_t *signature_size,
                    char *certificates, size_t certificates_room, size_t *certificates_size);

/* Whether a Keep of the same owner and deployment, in one of these roles (joined by spaces), signed the data by the function
 * above; gives the claims in its certificate (spec/certificate.md), JSON. */
DONJON_IMPORT(verify)(const void *data, size_t length, const uint8_t *signature, size_t signature_length,
                      const char *certificates, size_t certificates_length, const char *roles, size_t roles_length,
                      char *claims, size_t room, size_t *size);

#undef DONJON_IMPORT

#ifdef __cplusplus
}
#endif

#endif
