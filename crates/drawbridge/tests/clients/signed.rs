//! A publisher's signature as others read it: under the tag at which cosign looks, in a manifest that skopeo takes for an image,
//! over bytes that OpenSSL verifies. (Debian's skopeo has its own check of such signatures switched off.)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drawbridge::Secret;
use drawbridge::client::{Client, Trust};
use identity::Signer as _;
use identity::publisher::{Claim, PAYLOAD_MEDIA_TYPE, SIGNATURE_ANNOTATION, SIGNATURE_ARTIFACT_TYPE, Signature};
use serde_json::Value;
use workload::Digest;
use workload::package::{Descriptor, MANIFEST};

use crate::image::Layout;
use crate::key::Key;
use crate::{World, find, read};

#[test]
fn others_find_and_verify_what_publishers_signed() {
    let (Some(skopeo), Some(openssl)) = (find("skopeo"), find("openssl")) else { return };
    let world = World::new();
    let layout = Layout::make(world.folder.path());
    let (ca, right) = (world.ca(), world.right());
    let skopeo = |arguments: &[&str]| world.run(&skopeo, arguments);
    let image = format!("docker://{}", world.name("open/a:one"));
    skopeo(&["copy", "--dest-cert-dir", &ca, "--dest-creds", &right, &layout.oci("one"), &image]).good();
    let signed =
        format!("docker://{}", world.name(&format!("open/a:{}.sig", layout.one.to_string().replace(':', "-"))));
    skopeo(&["inspect", "--cert-dir", &ca, &signed]).refused(&["manifest unknown", "not found"]);

    let bytes = read(layout.folder.join(format!("blobs/sha256/{}", hex::encode(layout.one.as_bytes()))));
    let publishers = [Key::new(), Key::new()];
    for (key, svn) in publishers.iter().zip([3, 4]) {
        let token = Secret::new(world.token.expose().to_owned());
        let authority = format!("127.0.0.1:{}", world.server.local_addr.port()).parse().unwrap();
        let client = Client::new(authority, Trust::of(&[world.server.pin])).unwrap().with_token(token);
        let product = "image".parse().unwrap();
        let claim = Claim { reference: world.name("open/a"), workload: layout.one, product, svn };
        let (signature, described) = (Signature::make(&claim, key).unwrap(), Descriptor::of(MANIFEST, &bytes));
        let repository = "open/a".parse().unwrap();
        world.runtime.block_on(client.put_signature(&repository, &described, &signature)).unwrap();
    }

    // An image like any other, with a payload for each of the two.
    let folder = world.path("signed");
    skopeo(&["copy", "--src-cert-dir", &ca, &signed, &format!("dir:{folder}")]).good();
    let manifest: Value = serde_json::from_slice(&read(format!("{folder}/manifest.json"))).unwrap();
    assert_eq!(manifest["artifactType"], SIGNATURE_ARTIFACT_TYPE);
    assert_eq!(manifest["subject"]["digest"], serde_json::json!(layout.one));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for ((layer, key), svn) in layers.iter().zip(&publishers).zip(["3", "4"]) {
        assert_eq!(layer["mediaType"], PAYLOAD_MEDIA_TYPE);
        let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
        let payload = format!("{folder}/{}", hex::encode(digest.as_bytes()));
        let said: Value = serde_json::from_slice(&read(&payload)).unwrap();
        assert_eq!(said["critical"]["image"]["docker-manifest-digest"], serde_json::json!(layout.one));
        assert_eq!(said["critical"]["identity"]["docker-reference"], world.name("open/a"));
        assert_eq!(said["optional"]["dev.donjon.svn"], svn);
        let signature = layer["annotations"][SIGNATURE_ANNOTATION].as_str().unwrap();
        std::fs::write(world.path("signature"), STANDARD.decode(signature).unwrap()).unwrap();
        let verify = |key: &Key| {
            std::fs::write(world.path("key.der"), key.spki()).unwrap();
            let (key, signature) = (world.path("key.der"), world.path("signature"));
            let form = ["dgst", "-sha256", "-keyform", "DER", "-verify", &key, "-signature", &signature, &payload];
            world.run(&openssl, &form)
        };
        verify(key).good();
        verify(&Key::new()).refused(&["Verification failure", "Verification Failure"]);
    }
}
