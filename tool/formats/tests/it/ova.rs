//! The OVA, read by Python's tarfile and XML parsers.

use std::fs;

use bootwright_formats::RawImage;
use bootwright_formats::vdisk::DiskKind;
use bootwright_formats::vdisk::ova::{self, Appliance, Controller, Network};
use bootwright_oci::{Digest, Silent};

use crate::tools::{run, text};
use crate::vdisk::{MIB, bytes, golden_image, name, workers};

fn appliance() -> Appliance {
    Appliance {
        name: "web & \"co\"".to_owned(),
        memory_mib: 256,
        cpus: 2,
        efi: true,
        controller: Controller::LsiLogic,
        network: Network::E1000,
    }
}

fn ova_bytes(image: &RawImage, threads: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let spool = tempfile::tempfile().unwrap();
    ova::write(image, &appliance(), spool, workers(threads), &mut out, &mut Silent).unwrap();
    out
}

/// What strict readers check: order and digests of the files, references between the parts, order of an item's elements.
const CHECK_OVA: &str = r##"
import hashlib, sys, tarfile
import xml.etree.ElementTree as ET
tar = tarfile.open(sys.argv[1], mode="r:")
files = {m.name: tar.extractfile(m).read() for m in tar}
assert all(m.type == tarfile.REGTYPE and not m.pax_headers for m in tar)
ovf_name, mf_name, disk_name = list(files)
assert (ovf_name, mf_name, disk_name) == tuple('web & "co"' + s for s in (".ovf", ".mf", "-disk1.vmdk")), list(files)
assert files[mf_name].decode() == "".join("SHA256(%s)= %s\n" % (n, hashlib.sha256(files[n]).hexdigest()) for n in (ovf_name, disk_name))
OVF, RASD, VSSD, VMW = ("{http://schemas.dmtf.org/ovf/envelope/1}",
    "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}",
    "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData}", "{http://www.vmware.com/schema/ovf}")
root = ET.fromstring(files[ovf_name])
assert root.tag == OVF + "Envelope"
assert [c.tag[len(OVF):] for c in root] == ["References", "DiskSection", "NetworkSection", "VirtualSystem"]
file, = root.findall(f"{OVF}References/{OVF}File")
assert file.get(OVF + "href") == disk_name and int(file.get(OVF + "size")) == len(files[disk_name])
disk, = root.findall(f"{OVF}DiskSection/{OVF}Disk")
assert disk.get(OVF + "fileRef") == file.get(OVF + "id")
assert int(disk.get(OVF + "capacity")) == int(sys.argv[2]) and disk.get(OVF + "capacityAllocationUnits") == "byte"
assert disk.get(OVF + "format").endswith("#streamOptimized")
network, = root.findall(f"{OVF}NetworkSection/{OVF}Network")
system = root.find(OVF + "VirtualSystem")
assert [c.tag[len(OVF):] for c in system] == ["Info", "Name", "OperatingSystemSection", "VirtualHardwareSection"]
guest = system.find(OVF + "OperatingSystemSection")
assert (guest.get(OVF + "id"), guest.get(VMW + "osType")) == ("101", "otherLinux64Guest")
hardware = system.find(OVF + "VirtualHardwareSection")
# Every section begins with its Info.
for section in root.iter():
    if section.tag.endswith("Section") and section.tag.startswith(OVF): assert section[0].tag == OVF + "Info", section.tag
assert hardware.find(f"{OVF}System/{VSSD}VirtualSystemType").text == "vmx-13"
items = {}
for item in hardware.findall(OVF + "Item"):
    tags = [c.tag for c in item]
    assert tags == sorted(tags) and all(t.startswith(RASD) for t in tags), tags
    values = {c.tag[len(RASD):]: c.text for c in item}
    assert {"ElementName", "InstanceID", "ResourceType"} <= set(values)
    items[values["InstanceID"]] = values
assert len(items) == 5
kind = lambda n: next(i for i in items.values() if i["ResourceType"] == n)
assert (kind("3")["VirtualQuantity"], kind("4")["VirtualQuantity"], kind("4")["AllocationUnits"]) == ("2", "256", "byte * 2^20")
assert kind("17")["HostResource"] == "ovf:/disk/" + disk.get(OVF + "diskId")
assert items[kind("17")["Parent"]]["ResourceType"] == "6" and kind("6")["ResourceSubType"] == "lsilogic"
assert kind("10")["Connection"] == network.get(OVF + "name") and kind("10")["ResourceSubType"] == "E1000"
config = hardware[-1]
assert (config.tag, config.get(VMW + "key"), config.get(VMW + "value")) == (VMW + "Config", "firmware", "efi")
sys.stdout.buffer.write(files[disk_name])
"##;

#[test]
fn an_ova_is_what_the_standard_says() {
    let image = golden_image(true);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("m.ova");
    fs::write(&path, ova_bytes(&image, 2)).unwrap();
    let disk = run("python3", &["-c", CHECK_OVA, name(&path), &(71 * MIB).to_string()], b"");
    assert!(disk == bytes(DiskKind::Vmdk, &image, 1), "the disk is format vmdk's");
    let ovf = run("tar", &["-xOf", name(&path), "--wildcards", "*.ovf"], b"");
    assert_eq!(text("xmllint", &["--noout", "-"], &ovf), "");
}

/// If this fails although nothing was meant to change, everybody's appliances change with this version.
#[test]
fn golden() {
    let digest = Digest::of(&ova_bytes(&golden_image(false), 1)).hex();
    assert_eq!(digest, "83dd7529a5a83cace8c8710f22e2e03522c9da80eeae800f12db8f36ec00d8af");
    assert!(ova_bytes(&golden_image(true), 3) == ova_bytes(&golden_image(false), 1));
}
