// Run by ModuleTests in a process where nothing else keeps the module loaded: four tasks open and close it.
import KMSCore
import PKCS11Provider

let uri = try PKCS11URI(parsing: CommandLine.arguments[1])
let details = await withTaskGroup(of: Set<String>.self) { group in
  for _ in 0..<4 {
    group.addTask {
      var details: Set<String> = []
      for _ in 0..<300 {
        let provider = PKCS11Provider(
          PKCS11Configuration(
            name: "none", uri: uri, pin: SecretSource(description: "none") { SecretBytes.random(count: 8) }))
        details.insert(await provider.health().detail)
        await provider.close()
      }
      return details
    }
  }
  var all: Set<String> = []
  for await details in group { all.formUnion(details) }
  return all
}
for detail in details.sorted() { print(detail) }
