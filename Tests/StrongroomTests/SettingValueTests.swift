import Strongroom
import SystemPackage
import Testing

/// Invalid values: each is refused with its place and what is allowed.
struct SettingValueTests {
  @Test(
    "the settings of data at rest",
    arguments: [
      ("kms-encryption-enabled", "yes", "true or false"), ("kms-encryption-enabled", "\"\"", "true or false"),
      ("envelope-encryption-enabled", "1", "true or false"), ("envelope-encryption-enabled", "TRUE", "true or false"),
      ("kms-key-id", "Customer", "1 to 64 of a-z"), ("kms-key-id", "\"\"", "1 to 64 of a-z"),
      ("kms-key-id", "[a, b]", "one value"),
      ("key-rotation-interval", "59m", "one hour (1h, 3600s) or more"),
      ("key-rotation-interval", "3599s", "one hour (1h, 3600s) or more"),
      ("key-rotation-interval", "0", "one hour (1h, 3600s) or more"),
      ("key-rotation-interval", "-2h", "s, m, h or d"), ("key-rotation-interval", "weekly", "s, m, h or d"),
      ("key-rotation-interval", "99999999999999999999d", "s, m, h or d"),
      ("encryption-algorithm", "AES-128-GCM", "AES-256-GCM"), ("encryption-algorithm", "aes-256-gcm", "AES-256-GCM"),
      ("recovery-recipients", "[a, b, c, d, e, f, g, h]", "7 at most"),
      ("min-unwrap-version", "yesterday", "2026-11-24T08:00:00Z"), ("min-unwrap-version", "\"\"", "an id"),
      ("min-unwrap-version", "2026-11-24T08:00:00+01:00", "a time in UTC"),
    ])
  func dataAtRest(_ setting: String, _ value: String, _ allowed: String) async throws {
    try await withFolder { folder in
      let error = try await failure {
        _ = try configuration(ConfigurationTests.memory + "data-at-rest:\n  \(setting): \(value)\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
      #expect(error.message.hasPrefix("\(folder)/strongroom.yaml:5: data-at-rest.\(setting): "))
      #expect(error.advice.contains(allowed))
    }
  }

  @Test("an hour is enough", arguments: ["1h", "60m", "3600s", "3600", "1d"])
  func interval(_ value: String) async throws {
    try await withFolder { folder in
      let loaded = try configuration(
        ConfigurationTests.memory + "data-at-rest: { key-rotation-interval: \(value) }\n", in: folder)
      #expect(loaded.dataAtRest.keyRotationInterval >= .seconds(3600))
    }
  }

  @Test(
    "the settings of the cache",
    arguments: [
      ("max-age", "999ms", "s, m, h or d"), ("max-age", "25h", "1s to 24h"), ("max-messages", "0", "1 to 4294967296"),
      ("max-messages", "4294967297", "1 to 4294967296"), ("max-messages", "many", "a whole number"),
      ("max-bytes", "0", "1B to 64GiB"), ("max-bytes", "65GiB", "1B to 64GiB"), ("max-bytes", "1GB", "KiB, MiB or GiB"),
      ("max-entries", "0", "1 to 1000000"), ("max-entries", "1000001", "1 to 1000000"),
      ("partition", "tenant", "key or context"),
    ])
  func cache(_ setting: String, _ value: String, _ allowed: String) async throws {
    try await withFolder { folder in
      let error = try await failure {
        _ = try configuration(ConfigurationTests.memory + "cache:\n  \(setting): \(value)\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
      #expect(error.message.hasPrefix("\(folder)/strongroom.yaml:5: cache.\(setting): "))
      #expect(error.advice.contains(allowed))
    }
  }

  @Test("without its section there is no cache; with it, what it does not say has its default")
  func cacheDefaults() async throws {
    try await withFolder { folder in
      func limits(_ yaml: String, _ environment: [String: String] = [:]) throws -> CacheLimits? {
        try configuration(ConfigurationTests.memory + yaml, in: folder, environment: environment).dataAtRest.cache
      }
      #expect(try limits("") == nil)
      #expect(try limits("cache: { max-age: 0 }\n") == nil)
      #expect(try limits("cache: { max-age: 5m, max-entries: 7 }\n", ["STRONGROOM_CACHE_MAX_AGE": "0s"]) == nil)
      #expect(try limits("cache: { max-messages: 16777216 }\n") == CacheLimits())
      #expect(try limits("", ["STRONGROOM_CACHE_MAX_AGE": "5m"]) == CacheLimits())
      let limits = try limits(
        "cache: { max-age: 90s, max-messages: 5, max-bytes: 6KiB, max-entries: 7, partition: context }\n")
      #expect(
        try limits
          == CacheLimits(maxAge: .seconds(90), maxMessages: 5, maxBytes: 6144, maxEntries: 7, partition: .context))
    }
  }

  @Test(
    "other settings",
    arguments: [
      ("provider: none", "there is no 'none' under 'providers'"),
      ("provider: m\naccess-log: { rotate-at: 100MB }", "KiB, MiB or GiB"),
      ("provider: m\naccess-log: { durability: perhaps }", "written or synced"),
      ("provider: m\naccess-log: { deadline: soon }", "s, m, h or d"),
    ])
  func others(_ yaml: String, _ allowed: String) async throws {
    try await withFolder { folder in
      let error = try await failure {
        _ = try configuration("providers: { m: { type: memory } }\n\(yaml)\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
      #expect(error.description.contains("strongroom.yaml") && error.description.contains(allowed))
    }
  }

  @Test(
    "providers",
    arguments: [
      ("{ type: vault }", "pkcs11, openssl, public-key and memory"), ("{ max-sessions: 3 }", "type is missing"),
      ("{ type: openssl }", "keystore is missing"),
      ("{ type: openssl, keystore: a.p12 }", "passphrase-source is missing"), ("{ type: pkcs11 }", "uri is missing"),
      ("{ type: pkcs11, uri: \"pkcs11:token=a?module-path=/m.so\", max-sessions: 0 }", "1 to 1024"),
    ])
  func provider(_ settings: String, _ problem: String) async throws {
    try await withFolder { folder in
      let error = try await failure { _ = try configuration("providers: { p: \(settings) }\n", in: folder) }
      #expect(error.code == .configurationInvalid)
      #expect(error.description.contains(problem))
    }
  }

  @Test(
    "a secret where its source should stand is refused and not repeated",
    arguments: ["hunter2-secret", "pin:1234-secret"])
  func secretInTheConfiguration(_ secret: String) async throws {
    try await withFolder { folder in
      for settings in [
        "{ type: openssl, keystore: a.p12, passphrase-source: \"\(secret)\" }",
        "{ type: pkcs11, uri: \"pkcs11:token=a?module-path=/m.so\", pin-source: \"\(secret)\" }",
      ] {
        let error = try await failure { _ = try configuration("providers: { p: \(settings) }\n", in: folder) }
        #expect(error.code == .configurationInvalid)
        #expect(error.advice.contains("file:PATH"))
        #expect(!error.description.contains(secret))
      }
      let uri = "pkcs11:token=a?module-path=/m.so&pin-value=\(secret)"
      let error = try await failure {
        let loaded = try configuration(
          "providers: { p: { type: pkcs11, uri: \"\(uri)\", pin-source: \"env:PIN\" } }\n", in: folder)
        _ = try DataAtRestManager.open(loaded)
      }
      #expect(error.code == .configurationInvalid)
      #expect(!error.description.contains(secret))
    }
  }

  @Test("sources of secrets: file, environment, credential; what is not there is said without its content")
  func sources() async throws {
    try await withFolder { folder in
      try folder.appending("pass").write("of a file\r\nsecond line\n")
      let environment = ["PASS": "of the environment", "CREDENTIALS_DIRECTORY": folder.string]
      func read(_ source: String) throws -> String {
        let loaded = try configuration(
          "providers: { p: { type: openssl, keystore: a.p12, passphrase-source: \"\(source)\" } }\n", in: folder,
          environment: environment)
        guard case .openSSL(_, let passphrase)? = loaded.providers.first?.kind else { return "" }
        return String(decoding: try passphrase.read().unprotectedCopy(), as: UTF8.self)
      }
      #expect(try read("file:pass") == "of a file")
      #expect(try read("file://\(folder)/pass") == "of a file")
      #expect(try read("env:PASS") == "of the environment")
      #expect(try read("credential:pass") == "of a file")
      #expect(try read("command:head -n 2 \(folder)/pass") == "of a file")
      #expect(try read("command:yes hush") == "hush", "a program that goes on printing is not waited for")
      #expect(try read("command:printenv PASS") == "of the environment")
      for source in [
        "file:gone", "env:GONE", "credential:gone", "command:/nowhere/program", "command:false", "command:true",
        "command:", "command:cat gone",
      ] {
        let error = try await failure { _ = try read(source) }
        #expect(error.code == .secretUnavailable)
        #expect(!error.advice.isEmpty)
      }
    }
  }

  @Test("tokens in a list, deadline and the ways to wrap")
  func tokens() async throws {
    try await withFolder { folder in
      func token(_ lines: String) throws -> TokenSettings? {
        let loaded = try configuration(
          "providers: { p: { type: pkcs11, pin-source: \"env:PIN\", \(lines) } }\n", in: folder, environment: [:])
        guard case .pkcs11(let token)? = loaded.providers.first?.kind else { return nil }
        return token
      }
      let (one, two) = ("pkcs11:token=a?module-path=/a.so", "pkcs11:token=b?module-path=/b.so")
      let usual = try #require(try token("uri: \"\(one)\""))
      #expect(usual.uris == [one] && usual.deadline == .seconds(10))
      #expect(usual.wrapAlgorithms == [.a256KW, .a256GCM, .rsaOAEP256])
      let other = try #require(
        try token(
          "uris: [\"\(one)\", \"\(two)\"], deadline: 90s, wrap-algorithms: [RSA-OAEP-SHA1, A256KW]"))
      #expect(other.uris == [one, two] && other.deadline == .seconds(90))
      #expect(other.wrapAlgorithms == [.rsaOAEPSHA1, .a256KW])
      for bad in [
        "deadline: 1s", "uris: []", "uri: \"\(one)\", uris: [\"\(two)\"]", "uri: \"\(one)\", deadline: 0s",
        "uri: \"\(one)\", wrap-algorithms: []", "uri: \"\(one)\", wrap-algorithms: [A256KW, A256KW]",
        "uri: \"\(one)\", wrap-algorithms: [DES]",
      ] {
        #expect(try await failure { _ = try token(bad) }.code == .configurationInvalid)
      }
    }
  }
}
