"""Encrypted workbooks as the reader of another project opens them: msoffcrypto-tool."""

import io

import msoffcrypto
from msoffcrypto.method.ecma376_agile import ECMA376Agile


def opened(file, password):
    """Past the check of the password. Raises InvalidKeyError for a wrong one, FileFormatError for a file of another kind."""
    office = msoffcrypto.OfficeFile(io.BytesIO(file))
    office.load_key(password=password, verify_password=True)
    return office


def is_whole(office):
    """Whether the code over the package is right."""
    info = office.info
    with office.file.openstream("EncryptedPackage") as stream:
        return ECMA376Agile.verify_integrity(
            office.secret_key,
            info["keyDataSalt"],
            info["keyDataHashAlgorithm"],
            info["keyDataBlockSize"],
            info["encryptedHmacKey"],
            info["encryptedHmacValue"],
            stream,
        )


def decrypted(file, password):
    """The package. Fails when it is not whole."""
    office = opened(file, password)
    assert is_whole(office)
    with office.file.openstream("EncryptedPackage") as stream:
        return ECMA376Agile.decrypt(
            office.secret_key, office.info["keyDataSalt"], office.info["keyDataHashAlgorithm"], stream
        )
