#!/usr/bin/env bash
# Lists public declarations of the library targets that have no documentation comment; fails if there is one.
# What a protocol of the standard library demands (==, encode, description ...) documents itself.
set -euo pipefail
cd "$(dirname "$0")/.."
awk '
  FNR == 1 { previous = "" }
  /^[[:space:]]*(@[A-Za-z_]+(\(.*\))?[[:space:]]*)*(public|open) / && !/^[[:space:]]*open = / && !/(public|internal|package) import / {
    declaration = $0
    self_evident = declaration ~ /static func (==|<)|func hash\(|func encode\(to|init\(from decoder|var description|let rawValue|init\(rawValue|init\(_ .*rawValue|public extension|init\(\) \{\}/
    provider = FILENAME ~ /(InMemoryProvider|OpenSSLProvider|PKCS11Provider|PublicKeyProvider|AccessLoggedProvider|ManageKeys|AdoptKeys|Rewrap|SignInToken|SummarisingReporter)/ && declaration ~ /public func (keyVersions|createKeyVersion|importKeyVersion|adoptableKeys|adoptKey|setState|wrap|unwrap|rewrap|encrypt|decrypt|health|close|report|signingKey|createSigningKey|sign)|let identity/
    source = FILENAME ~ /(EnvelopeFiles|SQLiteTable|TextTable)/ && declaration ~ /public (mutating func (nextBatch|replace|finish)|var fractionDone)/
    if (previous !~ /\/\/\// && !self_evident && !provider && !source) { print FILENAME ":" FNR ": " declaration; missing++ }
  }
  { if ($0 !~ /^[[:space:]]*@/) previous = $0 }
  END { if (missing) { print missing " public declarations have no documentation"; exit 1 } }
' $(git ls-files 'Sources/*.swift' | grep -v -e StrongroomCommand)
