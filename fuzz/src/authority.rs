//! An administrators' authority, one certificate and one revocation list of its making. Nobody has its key any more.

#![expect(clippy::unwrap_used, reason = "what is decoded here was encoded here")]

use base64::{Engine, engine::general_purpose::STANDARD};

/// Its own certificate.
pub const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBPTCB5KADAgECAgEKMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCUZ1enogUm9v\n\
    dDAiGA8yMDIyMTExNDIyMTMyMFoYDzIwMzMxMTExMjIxMzIwWjAUMRIwEAYDVQQD\n\
    DAlGdXp6IFJvb3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASFAx9tTTAiSRGo\n\
    I2OMZSKijekYnK3wMJfJzBbNmN4InfuGRISBXA3aXYEArvOlz60+RFFl7QxQpwu3\n\
    4gnYJaBuoyMwITAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAKBggq\n\
    hkjOPQQDAgNIADBFAiEA9R+CJw+9kTbta4k5ix+7f0+wQA8hNOv8ylwJk3gJzkoC\n\
    IGGlfxhKoFJBbY+Ps/8ArZ1R1vm8GQAJzv34Tj1fC6ZX\n\
    -----END CERTIFICATE-----\n";

/// Alice's, in time at [`crate::NOW`], with serial number 0x51.
pub const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBbzCCARSgAwIBAgIBUTAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlGdXp6IFJv\n\
    b3QwIhgPMjAyMzExMTMyMjEzMjBaGA8yMDIzMTEyMDIyMTMyMFowFjEUMBIGA1UE\n\
    AwwLQWxpY2UgQWRtaW4wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT+qxPnUfvd\n\
    UrCflmuFyeEEF17hVaOxBJKbG7YYlH1an210juWzcIG+3VH4NTUGnu1rM52PSkbj\n\
    ehABrkf5x2cOo1EwTzATBgNVHSUEDDAKBggrBgEFBQcDAjA4BgNVHREEMTAvgRFh\n\
    bGljZUBleGFtcGxlLmNvbYYac3BpZmZlOi8vZXhhbXBsZS5jb20vYWxpY2UwCgYI\n\
    KoZIzj0EAwIDSQAwRgIhAKbjGVMnGq3jeQnH+/U85ADMun3/g7M4S4IBsy+J0XCz\n\
    AiEAv7R9brVUBO6tODV1Lvk+yuqE2mSJbtJqZtZ8zcRNfhQ=\n\
    -----END CERTIFICATE-----\n";

/// Its list, in force at [`crate::NOW`], number 7; it names serial number 0x52.
pub const LIST: &str = "-----BEGIN X509 CRL-----\n\
    MIHGMG8CAQEwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJRnV6eiBSb290GA8yMDIz\n\
    MTExNDIxMTMyMFoYDzIwMjMxMTE1MjIxMzIwWjAWMBQCAVIYDzIwMjcwMTE0MDgw\n\
    MDAwWqAOMAwwCgYDVR0UBAMCAQcwCgYIKoZIzj0EAwIDRwAwRAIgdQd1eA5wayeP\n\
    6MmnGeutbayH+P/AQpzvUKegtZFzdhgCIGYOE6owHnEnG5pkiVAfvqYAh3au8cIx\n\
    eHD2SBdRuteR\n\
    -----END X509 CRL-----\n";

/// The bytes that a PEM text holds.
pub fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(lines).unwrap()
}

/// The PEM text of those bytes.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
