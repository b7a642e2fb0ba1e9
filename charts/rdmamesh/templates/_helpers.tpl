{{/* Names are fixed: there is one RdmaMesh in a cluster, and documentation can quote them. */}}

{{- define "rdmamesh.labels" -}}
app.kubernetes.io/name: rdmamesh
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of one component; the argument is (list . "agent"). */}}
{{- define "rdmamesh.componentLabels" -}}
{{ include "rdmamesh.labels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* What selects a component's pods: must never change. */}}
{{- define "rdmamesh.selector" -}}
app.kubernetes.io/name: rdmamesh
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Reference of an image; the argument is (list . .Values.images.agent). */}}
{{- define "rdmamesh.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A container that may do nothing beyond running as a user without rights. */}}
{{- define "rdmamesh.confined" -}}
runAsUser: 65532
runAsGroup: 65532
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Root of the container, but with no capability save those listed: for what belongs to root on the host. */}}
{{- define "rdmamesh.confinedRoot" -}}
runAsUser: 0
runAsGroup: 65532
runAsNonRoot: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {{ if . }}{drop: [ALL], add: {{ toJson . }}}{{ else }}{drop: [ALL]}{{ end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "rdmamesh.logging" -}}
{{- with .Values.log.filter }}
- {name: RUST_LOG, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "rdmamesh.podIdentity" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- end }}

{{- define "rdmamesh.probeKeysSecret" -}}
{{ .Values.probeKeys.existingSecret | default "rdmamesh-probe-keys" }}
{{- end }}

{{/* Address and port to listen on; IPv6 addresses take brackets. */}}
{{- define "rdmamesh.listen" -}}
{{- $address := index . 0 -}}
{{- if contains ":" $address }}[{{ $address }}]{{ else }}{{ $address }}{{ end }}:{{ int (index . 1) }}
{{- end }}

{{/* The resource that the prober asks for; empty with hostPath. */}}
{{- define "rdmamesh.resourceName" -}}
{{- if eq .Values.deviceAccess.mode "plugin" -}}
{{ .Values.deviceAccess.plugin.resourceName }}
{{- else if eq .Values.deviceAccess.mode "external" -}}
{{ .Values.deviceAccess.external.resourceName }}
{{- end -}}
{{- end }}
