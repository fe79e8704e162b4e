/// A provider that can take over keys that somebody else made in its store. What is not adopted is never used.
public protocol KeyAdopting: KMSProvider {
  /// The keys that are there and are none of ours, with what speaks against each.
  func adoptableKeys() async throws -> [AdoptionCandidate]

  /// Makes the key that is there under the request's id a version of the request's key. The key itself stays as it
  /// is: whoever uses it by its old label goes on.
  ///
  /// - Parameters:
  ///   - request: the id that the key has, the key that it becomes a version of, and what it is for.
  ///   - restricting: whether the provider may take from the key what speaks against it: other uses than the
  ///     request's, being readable, being taken out. That is for good; nothing is changed when it would not be enough.
  /// - Returns: the version, in the state that its own flags say, and what its owner should know of it.
  /// - Throws: ``KMSError/Code/keyNotFound``, ``KMSError/Code/duplicateKeyVersion`` when the id is doubled or ours
  ///   already, ``KMSError/Code/keyNotAdoptable`` with the obstacles, ``KMSError/Code/keyPurposeForbids`` when the
  ///   key is not for the request's purpose.
  func adoptKey(_ request: NewKeyVersion, restricting: Bool) async throws -> AdoptedKey
}

/// A key that somebody else made.
public struct AdoptionCandidate: Sendable, Hashable {
  /// What forbids an adoption, and what to do about it.
  public struct Obstacle: Sendable, Hashable {
    /// Such as "it can be taken out of the token".
    public let problem: String
    /// What to do, as a sentence.
    public let advice: String
    /// Whether an adoption that may restrict the key removes it.
    public let isRemovable: Bool

    /// Problem and advice are for a person.
    public init(_ problem: String, advice: String, isRemovable: Bool = false) {
      self.problem = problem
      self.advice = advice
      self.isRemovable = isRemovable
    }
  }

  /// Nil when it has none that could name it.
  public let id: KeyVersionID?
  /// Its label, as far as it can be printed.
  public let label: String
  /// What it is for; nil when it is for nothing, or for both.
  public let purpose: KeyPurpose?
  /// None: it can be adopted.
  public let obstacles: [Obstacle]
  /// What its owner should know before: that it was readable once, say.
  public let warnings: [String]

  /// As a provider found it.
  public init(
    id: KeyVersionID?, label: String, purpose: KeyPurpose?, obstacles: [Obstacle], warnings: [String]
  ) {
    self.id = id
    self.label = label
    self.purpose = purpose
    self.obstacles = obstacles
    self.warnings = warnings
  }
}

/// What ``KeyAdopting/adoptKey(_:restricting:)`` gives.
public struct AdoptedKey: Sendable, Hashable {
  /// Listed from now on.
  public let version: KeyVersion
  /// As ``AdoptionCandidate/warnings``.
  public let warnings: [String]

  /// As a provider adopted it.
  public init(version: KeyVersion, warnings: [String]) {
    self.version = version
    self.warnings = warnings
  }
}
