import Strongroom
import SystemPackage
import Testing

/// Files, places and the environment.
struct ConfigurationTests {
  static let memory = """
    provider: memory
    providers:
      memory: { type: memory }

    """

  @Test("an unknown setting is an error with file, line and the nearest known one")
  func unknownSetting() async throws {
    try await withFolder { folder in
      let error = try await failure {
        _ = try configuration(Self.memory + "data-at-rest:\n  kms-keyid: x\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
      #expect(error.message == "\(folder)/strongroom.yaml:5: there is no setting 'data-at-rest.kms-keyid'")
      #expect(error.advice.hasPrefix("Did you mean 'data-at-rest.kms-key-id'?"))
    }
  }

  @Test(
    "an item of a list that is no text is an error, and not left out",
    arguments: ["[{ name: offline }]", "[[offline]]", "\n    - name: offline", "[a, [b]]"])
  func listOfOthers(list: String) async throws {
    try await withFolder { folder in
      let error = try await failure {
        _ = try configuration(Self.memory + "data-at-rest:\n  recovery-recipients: \(list)\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
      #expect(error.message.contains("data-at-rest.recovery-recipients: an item of the list is not plain text"))
    }
  }

  @Test(
    "a section with nothing in it is not passed over",
    arguments: [
      ("cache: {}", "cache: the section is empty"), ("cache:", "cache: the section is empty"),
      ("  test: {}", "providers.test.type is missing"), ("  test:", "providers.test.type is missing"),
      ("cahce: {}", "there is no setting 'cahce'"), ("access-log: { pth: {} }", "there is no setting 'access-log.pth'"),
    ])
  func emptySection(yaml: String, message: String) async throws {
    try await withFolder { folder in
      let error = try await failure { _ = try configuration(Self.memory + yaml + "\n", in: folder) }
      #expect(error.code == .configurationInvalid && error.message.contains(message), "\(error)")
      _ = try configuration(Self.memory + "access-log:\nalerts: {}\n", in: folder)
    }
  }

  @Test(
    "a shell's word for the home folder makes no folder of that name",
    arguments: [
      "access-log: { path: ~/log }", "access-log: { path: ~ }", "alerts: { send-to: [\"file:~/alerts\"] }",
      "metrics: { file: ~/x.prom }",
    ])
  func home(yaml: String) async throws {
    try await withFolder { folder in
      let error = try await failure { _ = try configuration(Self.memory + yaml + "\n", in: folder) }
      #expect(error.code == .configurationInvalid && error.message.contains("'~' stands for no folder here"))
      let overridden = try await failure {
        _ = try configuration(Self.memory, in: folder, environment: ["STRONGROOM_ACCESS_LOG_PATH": "~/log"])
      }
      #expect(overridden.message.hasPrefix("STRONGROOM_ACCESS_LOG_PATH: "), "\(overridden)")
    }
  }

  @Test("for ever is a time, and absurd ones are none")
  func longTimes() async throws {
    try await withFolder { folder in
      let yaml =
        Self.memory + "data-at-rest: { key-rotation-interval: 99999d }\naccess-log: { path: log, keep: 99999d }\n"
      let manager = try DataAtRestManager.open(configuration(yaml, in: folder))
      try await manager.createKey(try key)
      #expect(try await manager.rotateDue(dryRun: true).isEmpty == false)
      await manager.close()
      let error = try await failure {
        _ = try configuration(Self.memory + "access-log: { path: log, keep: 99999999999999d }\n", in: folder)
      }
      #expect(error.code == .configurationInvalid)
    }
  }

  @Test(
    "unknown at every level",
    arguments: [
      ("provder: memory", "'provider'"), ("access-log: { pth: log }", "'access-log.path'"),
      ("acess-log: { path: log }", "'access-log.path'"),
      ("providers: { hsm: { type: pkcs11, max-session: 4 } }", "'providers.hsm.max-sessions'"),
      ("something: entirely-different", "docs/configuration.md"),
    ])
  func unknown(_ yaml: String, _ hint: String) async throws {
    try await withFolder { folder in
      let error = try await failure { _ = try configuration(yaml, in: folder) }
      #expect(error.code == .configurationInvalid)
      #expect(error.description.contains("strongroom.yaml:1: there is no setting"))
      #expect(error.description.contains(hint))
    }
  }

  @Test("what is no YAML, or no settings", arguments: ["a: [", "just text", "- a\n- b", "a: &x 1\nb: *x"])
  func notSettings(_ yaml: String) async throws {
    try await withFolder { folder in
      let error = try await failure { _ = try configuration(yaml, in: folder) }
      #expect(error.code == .configurationInvalid)
      #expect(error.message.contains("strongroom.yaml"))
      #expect(!error.description.contains("\n"))
    }
  }

  @Test("the environment overrides the file")
  func environment() async throws {
    try await withFolder { folder in
      let loaded = try configuration(
        Self.memory + "data-at-rest: { kms-key-id: from-file }\n", in: folder,
        environment: [
          "STRONGROOM_DATA_AT_REST_KMS_KEY_ID": "from-environment",
          "STRONGROOM_DATA_AT_REST_KEY_ROTATION_INTERVAL": "7d",
          "STRONGROOM_DATA_AT_REST_RECOVERY_RECIPIENTS": "spare, vault",
          "STRONGROOM_DATA_AT_REST_MIN_UNWRAP_VERSION": "2026-11-24",
        ])
      #expect(loaded.dataAtRest.kmsKeyID.description == "from-environment")
      #expect(loaded.dataAtRest.keyRotationInterval == .seconds(7 * 86_400))
      #expect(loaded.dataAtRest.recoveryRecipients.map(\.description) == ["spare", "vault"])
      #expect(loaded.dataAtRest.minUnwrapVersion == OldestVersion("2026-11-24"))

      let error = try await failure {
        _ = try configuration(
          Self.memory, in: folder, environment: ["STRONGROOM_DATA_AT_REST_KMS_ENCRYPTION_ENABLED": "maybe"])
      }
      #expect(error.message.hasPrefix("STRONGROOM_DATA_AT_REST_KMS_ENCRYPTION_ENABLED: "))
    }
  }

  @Test("relative paths are relative to the configuration's folder, absolute ones stay")
  func relativePaths() async throws {
    try await withFolder { folder in
      let yaml = """
        provider: a
        providers:
          a: { type: openssl, keystore: keys/a.p12, passphrase-source: "file:secret" }
          b: { type: openssl, keystore: /srv/b.p12, passphrase-source: "env:B" }
        access-log: { path: logs/access }
        """
      let loaded = try configuration(yaml, in: folder)
      #expect(loaded.accessLog.directory == folder.appending("logs/access"))
      let stores = loaded.providers.compactMap { provider in
        if case .openSSL(let keystore, _) = provider.kind { keystore } else { nil }
      }
      #expect(stores == ["\(folder)/keys/a.p12", "/srv/b.p12"])
    }
  }

  @Test("every default")
  func defaults() async throws {
    try await withFolder { folder in
      let loaded = try configuration(Self.memory, in: folder)
      #expect(loaded.dataAtRest == (try DataAtRestConfig()))
      #expect(loaded.dataAtRest.kmsEncryptionEnabled && loaded.dataAtRest.envelopeEncryptionEnabled)
      #expect(loaded.dataAtRest.keyRotationInterval == .seconds(86_400))
      #expect(loaded.dataAtRest.encryptionAlgorithm == "AES-256-GCM")
      #expect(loaded.accessLog == AccessLogSettings(directory: folder.appending("log")))
    }
  }

  @Test("without any file: a key store in the user's data folder")
  func withoutFile() async throws {
    try await withFolder { folder in
      let loaded = try SuiteConfiguration.load(
        environment: ["HOME": folder.string, "STRONGROOM_PASSPHRASE": "correct horse"])
      #expect(loaded.origin == "built-in defaults")
      #expect(loaded.accessLog.directory == folder.appending(".local/share/strongroom/log"))
      guard case .openSSL(let keystore, let passphrase) = try #require(loaded.providers.first).kind else {
        Issue.record("not a key store")
        return
      }
      #expect(keystore == folder.appending(".local/share/strongroom/keys.p12").string)
      #expect(try passphrase.read().count == "correct horse".utf8.count)
    }
  }

  @Test("the places, in their order")
  func places() async throws {
    try await withFolder { folder in
      let named = folder.appending("named.yaml")
      try named.write(Self.memory)
      var environment = ["HOME": folder.string, "STRONGROOM_CONFIG": named.string]
      #expect(try SuiteConfiguration.load(environment: environment).origin == named.string)
      environment["STRONGROOM_CONFIG"] = folder.appending("gone.yaml").string
      let error = try await failure { _ = try SuiteConfiguration.load(environment: environment) }
      #expect(error.code == .configurationInvalid && error.advice.contains("strongroom init"))
    }
  }
}
