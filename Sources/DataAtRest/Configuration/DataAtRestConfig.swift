public import KMSCore

/// How data is encrypted. Every value is checked when it is made, so a config that exists is a valid one.
public struct DataAtRestConfig: Sendable, Hashable {
  /// False makes every operation fail with ``KMSError/Code/encryptionDisabled``; nothing ever passes in plain.
  public let kmsEncryptionEnabled: Bool
  /// The key that is used where a call names none.
  public let kmsKeyID: KeyName
  /// False: the provider encrypts small data (64 KiB at most) itself, under a key whose purpose is encrypt.
  public let envelopeEncryptionEnabled: Bool
  /// A key is due for rotation when its current version is older. One hour at least.
  public let keyRotationInterval: Duration
  /// `AES-256-GCM`.
  public let encryptionAlgorithm: String
  /// Keys under which every envelope's content key is wrapped as well; 7 at most.
  public let recoveryRecipients: [KeyName]
  /// Key versions that are older neither unwrap nor decrypt, whatever their state; nil forbids none.
  public let minUnwrapVersion: OldestVersion?
  /// How long content keys of fields are used again; nil: each field has its own, and each is unwrapped anew.
  public let cache: CacheLimits?
  /// What a DEK that fields share may be used for, and how many are kept.
  public let sharedDEKs: CacheLimits

  /// What ``encryptionAlgorithm`` can be.
  public static let algorithms = ["AES-256-GCM"]
  /// One hour.
  public static let shortestRotationInterval = Duration.seconds(3600)

  /// - Throws: ``KMSError/Code/configurationInvalid`` with what is allowed.
  public init(
    kmsEncryptionEnabled: Bool = true, kmsKeyID: String = "default", envelopeEncryptionEnabled: Bool = true,
    keyRotationInterval: Duration = .seconds(86_400), encryptionAlgorithm: String = "AES-256-GCM",
    recoveryRecipients: [String] = [], minUnwrapVersion: String? = nil, cache: CacheLimits? = nil,
    sharedDEKs: CacheLimits? = nil
  ) throws {
    self.cache = cache
    self.sharedDEKs = try sharedDEKs ?? CacheLimits(section: "shared-deks", maxAge: .seconds(3600))
    self.kmsEncryptionEnabled = kmsEncryptionEnabled
    self.kmsKeyID = try Self.name(kmsKeyID, setting: "kms-key-id")
    self.envelopeEncryptionEnabled = envelopeEncryptionEnabled
    guard keyRotationInterval >= Self.shortestRotationInterval else {
      throw Self.invalid(
        "key-rotation-interval", "\(keyRotationInterval.components.seconds) s is too short",
        "Allowed is one hour (1h, 3600s) or more.")
    }
    self.keyRotationInterval = keyRotationInterval
    guard Self.algorithms.contains(encryptionAlgorithm) else {
      throw Self.invalid(
        "encryption-algorithm", "'\(encryptionAlgorithm.prefix(40))' is not supported",
        "Allowed is \(Self.algorithms.joined(separator: ", ")).")
    }
    self.encryptionAlgorithm = encryptionAlgorithm
    guard recoveryRecipients.count <= 7 else {
      throw Self.invalid(
        "recovery-recipients", "there are \(recoveryRecipients.count)", "Allowed are 7 at most.")
    }
    self.recoveryRecipients = try recoveryRecipients.map { try Self.name($0, setting: "recovery-recipients") }
    self.minUnwrapVersion = try minUnwrapVersion.map { text in
      guard let oldest = OldestVersion(text) else {
        throw Self.invalid(
          "min-unwrap-version", "'\(text.prefix(140))' is neither a time nor the id of a key version",
          "Allowed is a time in UTC such as 2026-11-24T08:00:00Z, or an id as 'strongroom key list' prints it.")
      }
      return oldest
    }
  }

  private static func name(_ text: String, setting: String) throws -> KeyName {
    do { return try KeyName(text) } catch let error as KMSError {
      throw invalid(setting, error.message, "Allowed is the name of a key. \(error.advice)")
    }
  }

  private static func invalid(_ setting: String, _ problem: String, _ advice: String) -> KMSError {
    KMSError(.configurationInvalid, "data-at-rest.\(setting): \(problem)", advice: advice)
  }
}
