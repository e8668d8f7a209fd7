"""Makes a PKCS#12 whose password is nothing at all, which no program's command line can say.

Arguments: PEM with key and certificate, PKCS#12 to make, and the encryption of key and certificate by
OpenSSL's numbers.
"""

import ctypes
import sys

lib = ctypes.CDLL("libcrypto.so.3")
pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
for name, arguments in {
    "OSSL_PROVIDER_load": [pointer, text],
    "BIO_new_file": [text, text],
    "BIO_free": [pointer],
    "PEM_read_bio_PrivateKey": [pointer] * 4,
    "PEM_read_bio_X509": [pointer] * 4,
    "PKCS12_create": [text] * 2 + [pointer] * 3 + [number] * 5,
    "i2d_PKCS12_bio": [pointer] * 2,
}.items():
    function = getattr(lib, name)
    function.argtypes, function.restype = arguments, pointer
for provider in [b"default", b"legacy"]:
    assert lib.OSSL_PROVIDER_load(None, provider), provider


def read(function):
    return function(lib.BIO_new_file(sys.argv[1].encode(), b"r"), None, None, None)


key, certificate = read(lib.PEM_read_bio_PrivateKey), read(lib.PEM_read_bio_X509)
schemes = [int(scheme) for scheme in sys.argv[3:5]]
made = lib.PKCS12_create(None, None, key, certificate, None, *schemes, 2000, 2000, 0)
out = lib.BIO_new_file(sys.argv[2].encode(), b"w")
assert made and lib.i2d_PKCS12_bio(out, made)
lib.BIO_free(out)
